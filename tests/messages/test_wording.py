"""Numbers, plurals and long lists in messages."""

import pytest

from convnext_mm.messages.wording import counted, listed, percent, printable, shown, such_as


@pytest.mark.parametrize(
    'number, noun, text',
    [
        (1, 'class', '1 class'),
        (2, 'class', '2 classes'),
        (0, 'box', '0 boxes'),
        (3, 'patch', '3 patches'),
        (3, 'epoch', '3 epochs'),
        (4, 'category', '4 categories'),
        (5, 'key', '5 keys'),
        (1003, 'object', '1,003 objects'),
    ],
)
def test_a_noun_follows_its_number(number, noun, text):
    assert counted(number, noun) == text


def test_a_long_list_ends_in_the_number_of_the_others():
    assert listed([1, 2, 3]) == '1, 2, 3'
    assert listed('abcde') == 'a, b, c and 2 more'
    assert listed(range(2000), limit=1) == '0 and 1,999 more'
    assert listed([]) == ''


def test_a_count_comes_with_examples():
    assert such_as('abcd') == '4 tensors (a, b, c and 1 more)'
    assert such_as(['cat'], 'class') == '1 class (cat)'
    assert such_as('abcd', 'class', limit=4) == '4 classes (a, b, c, d)'


def test_a_fraction_is_written_as_percent_and_none_as_a_dash():
    assert percent(0.8341) == '83.4'
    assert percent(-1) == '\N{EN DASH}'


def test_values_and_names_of_a_user_stay_printable_and_short():
    assert [shown(value) for value in (None, True, 1.5, 'a\x1b')] == [
        *('null', 'true', '1.5', r"'a\x1b'")
    ]
    assert len(shown('x' * 5000)) < 80 and len(shown([[[['x' * 5000]]]] * 50)) < 500
    assert shown({'images': [{'id': 1}], 'info': {}}) == "{'images': [{...}], 'info': {}}"
    assert printable('größe \x1b[31m\ud800\n') == r'größe \x1b[31m\ud800\n'
    assert printable('x' * 5000, limit=5) == 'xxxxx ...'
