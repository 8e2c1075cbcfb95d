"""One finding for data sets, the doctor and trainings: sorted, raised, logged and printed."""

import io

import pytest
from rich.console import Console

from convnext_mm.errors import UserError
from convnext_mm.messages.findings import (
    Finding,
    Level,
    as_text,
    by_level,
    error,
    errors_in,
    note,
    ok,
    raise_errors,
    show,
)

FINDINGS = [
    ok('Python', '3.11'),
    note('GPU', 'none'),
    Finding(Level.REPAIRED, 'train', 'objects without an area', ('object 4',), 'computed'),
    Finding(Level.ERROR, 'val', 'missing images', tuple('abcde'), 'fetch them'),
    error('data', 'is not there', 'download it\n  first line\n  second line\n'),
]


def printed(findings, **options):
    file = io.StringIO()
    shown = show(findings, Console(file=file, **options))
    return file.getvalue(), shown


def test_errors_come_first_and_each_level_keeps_its_order():
    assert [finding.where for finding in by_level(FINDINGS)] == [
        *('val', 'data', 'train', 'GPU', 'Python'),
    ]


def test_a_text_has_the_number_of_cases_and_the_first_three():
    assert FINDINGS[0].text == '3.11'
    assert FINDINGS[2].text == 'objects without an area: 1 (object 4)'
    assert FINDINGS[3].text == 'missing images: 5 (a, b, c and 2 more)'


def test_errors_are_raised_with_their_remedies_and_the_rest_is_not():
    raise_errors(FINDINGS[:3])
    with pytest.raises(UserError) as raised:
        raise_errors(iter(FINDINGS))
    assert str(raised.value) == as_text(errors_in(FINDINGS))
    assert str(raised.value).splitlines() == [
        'val: missing images: 5 (a, b, c and 2 more)',
        '  fetch them',
        'data: is not there',
        '  download it',
        '    first line',
        '    second line',
    ]


def test_findings_are_printed_with_level_place_text_and_remedy():
    text, shown = printed(iter(FINDINGS))
    assert shown == FINDINGS
    assert text.splitlines() == [
        '  ok       Python               3.11',
        '  note     GPU                  none',
        '  repaired train                objects without an area: 1 (object 4)',
        '                                -> computed',
        '  error    val                  missing images: 5 (a, b, c and 2 more)',
        '                                -> fetch them',
        '  error    data                 is not there',
        '  download it',
        '    first line',
        '    second line',
    ]


def test_findings_are_printed_while_the_check_runs():
    file = io.StringIO()

    def check():
        yield ok('first', 'done')
        assert 'first' in file.getvalue()
        yield ok('second', 'done')

    show(check(), Console(file=file))


def test_a_terminal_wraps_words_below_the_text_and_a_file_does_not():
    path = '/' + 'long-folder/' * 10
    finding = error('data', f'the data set is not in {path}', 'put it there ' * 10)
    text, _ = printed([finding], width=80, force_terminal=True, no_color=True)
    assert path in text
    *lines, _ = text.replace('\x1b[0m', '').split('\n')
    assert len(lines) > 4
    assert all(line.startswith(' ' * 32) for line in lines[1:])
    text, _ = printed([finding], width=80)
    assert len(text.splitlines()) == 2


def test_square_brackets_are_printed_as_they_are():
    text, _ = printed([note('a', 'lr [red] [0.1, 0.2]')])
    assert 'lr [red] [0.1, 0.2]' in text
