"""The table of published files agrees with the tables of their publishers."""

import dataclasses
import re
from collections import Counter

import pytest

from convnext_mm import ARCHS
from convnext_mm.weights import zoo
from convnext_mm.weights.names import FORMATS
from convnext_mm.weights.zoo import ZOO

# Typed from the tables of the authors' README files.
URLS = """
convnext_tiny_in1k      convnext_tiny_1k_224.pth
convnext_base_in1k_ema  convnext_base_1k_224_ema.pth
convnext_large_in1k_384 convnext_large_1k_384.pth
convnext_xlarge_in22k   convnext_xlarge_22k_224.pth
convnext_small_in22k_in1k           convnext_small_22k_1k_224.pth
convnext_xlarge_in22k_in1k_384_ema  convnext_xlarge_22k_1k_384_ema.pth
convnextv2_tiny_fcmae               convnextv2/pt_only/convnextv2_tiny_1k_224_fcmae.pt
convnextv2_atto_in1k_ema            convnextv2/im1k/convnextv2_atto_1k_224_ema.pt
convnextv2_huge_in22k_in1k_512_ema  convnextv2/im22k/convnextv2_huge_22k_512_ema.pt
mask_rcnn_convnext_tiny_coco        coco/mask_rcnn_convnext_tiny_1k_3x.pth
cascade_mask_rcnn_convnext_xlarge_in22k_coco  coco/cascade_mask_rcnn_convnext_xlarge_22k_3x.pth
upernet_convnext_small_ade20k        ade20k/upernet_convnext_small_1k_512x512.pth
upernet_convnext_base_in22k_ade20k   ade20k/upernet_convnext_base_22k_640x640.pth
"""


@pytest.mark.parametrize('row', URLS.strip().splitlines())
def test_a_short_name_has_the_file_that_the_authors_list(row):
    name, path = row.split()
    assert ZOO[name].source == f'https://dl.fbaipublicfiles.com/convnext/{path}'


def test_all_published_families_are_in_the_table():
    families = Counter(
        re.sub(r'_?(atto|femto|pico|nano|tiny|small|base|large|xlarge|huge)', '', name)
        for name in ZOO
    )
    assert families['dinov3_convnext'] == 4 and families['convnextv2_fcmae'] == 8
    assert families['convnextv2_in1k_ema'] == 8 and families['convnext_in22k'] == 5
    assert sum(name.endswith('_coco') for name in ZOO) == 7
    assert sum(name.endswith('_ade20k') for name in ZOO) == 6


def test_every_row_is_consistent():
    for name, weights in ZOO.items():
        assert weights.arch in ARCHS, name
        assert weights.format in {format.name for format in FORMATS}, name
        assert weights.arch.removeprefix('v2_') in name
        assert weights.source.startswith(('https://', 'hf://')), name
        assert weights.arch.startswith('v2_') == ('convnextv2' in name), name
        assert weights.trained_on
    sources = [weights.source for weights in ZOO.values()]
    assert len(set(sources)) == len(sources)


def test_recipes_do_not_start_from_moving_averages():
    for name in ('convnext_tiny_in1k', 'convnext_small_in1k', 'convnext_base_in1k'):
        assert not ZOO[name].ema and ZOO[f'{name}_ema'].ema


def test_licences_are_those_of_the_publishers():
    for name, weights in ZOO.items():
        expected = zoo.MIT
        if name.startswith('convnextv2'):
            expected = zoo.NON_COMMERCIAL
        elif name.startswith('dinov3'):
            expected = zoo.DINOV3_LICENCE
        elif name.startswith('torchvision'):
            expected = zoo.BSD
        assert weights.licence == expected, name
        assert bool(weights.how_to_get) == name.startswith('dinov3')


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        ZOO['mine'] = ZOO['convnext_tiny_in1k']
    with pytest.raises(dataclasses.FrozenInstanceError):
        ZOO['convnext_tiny_in1k'].licence = 'none'


def test_a_wrong_name_leads_to_similar_names():
    assert zoo.similar_names('convnext_tiny_1k')[0] == 'convnext_tiny_in1k'
    assert zoo.similar_names('convnext_v2_tiny_fcmae')[0] == 'convnextv2_tiny_fcmae'
    assert zoo.similar_names('dinov3_tiny')[0] == 'dinov3_convnext_tiny'
    assert zoo.similar_names('qqq') == []
