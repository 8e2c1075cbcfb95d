"""Is everything there and does it fit together: what ``tools/doctor.py`` does.

Every check is a function that returns findings and does not stop the others, whatever it meets.
"""
