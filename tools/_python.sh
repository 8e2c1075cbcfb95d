# Sourced by the shell scripts of this folder: the folder, and the Python to use.
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$tools/../.venv/bin/python}
[[ -x $python ]] || python=python
