"""Sheets of tiles, and sheets of ground truth above predictions."""

import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from convnext_mm.visualization.contact_sheet import contact_sheet, with_caption
from convnext_mm.visualization.image_files import read_bgr
from convnext_mm.visualization.samples import write_prediction_sheet

META = dict(classes=('disc', 'box'), palette=[(255, 0, 0), (0, 0, 255)])


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), np.full((50, 64, 3), 200, np.uint8))
    return str(path)


def drawn(sample, folder):
    write_prediction_sheet([sample] * 5, META, 0.5, folder / 'sheet.png')
    return cv2.imread(str(folder / 'sheet.png'))


@pytest.mark.parametrize('found', [0, 1])
def test_detections_are_drawn_below_the_ground_truth(image, tmp_path, found):
    masks = np.zeros((1, 50, 64), bool)
    masks[:, 10:30, 20:40] = True
    box = torch.tensor([[20.0, 10.0, 40.0, 30.0]])
    sample = DetDataSample(metainfo=dict(img_path=image))
    label = torch.tensor([0])
    sample.gt_instances = InstanceData(
        bboxes=box, labels=label, masks=BitmapMasks(masks.astype(np.uint8), 50, 64)
    )
    sample.pred_instances = InstanceData(
        bboxes=box, labels=label, scores=torch.tensor([0.9]), masks=torch.tensor(masks)
    )[:found]
    sheet = drawn(sample, tmp_path)
    tile = 2 * (21 + 250)  # two captions, two images of 320x250
    assert sheet.shape == (12 + 2 * (tile + 12), 12 + 3 * (320 + 12), 3)
    truth, prediction = sheet[33:283, 12:332], sheet[304:554, 12:332]
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) > 10
    assert (len(np.unique(prediction.reshape(-1, 3), axis=0)) > 10) == bool(found)


def test_label_maps_are_resized_to_the_tile(image, tmp_path):
    labels = torch.zeros(1, 50, 64, dtype=torch.long)
    labels[:, 25:] = 1
    sample = SegDataSample(metainfo=dict(img_path=image))
    sample.gt_sem_seg = PixelData(data=labels)
    sample.pred_sem_seg = PixelData(data=1 - labels)
    sheet = drawn(sample, tmp_path).astype(int)
    truth, prediction = sheet[33:283, 12:332], sheet[304:554, 12:332]
    for picture, red, blue in ((truth, 20, 230), (prediction, 230, 20)):
        assert picture[red, 160, 2] > picture[red, 160, 0]  # BGR
        assert picture[blue, 160, 0] > picture[blue, 160, 2]


@pytest.mark.parametrize('number, rows, columns', [(1, 1, 1), (3, 1, 3), (5, 2, 3), (8, 2, 4)])
def test_rows_are_of_equal_length_and_no_wider_than_the_sheet(number, rows, columns):
    tiles = [np.zeros((50, 88 - i, 3), np.uint8) for i in range(number)]
    sheet = contact_sheet(tiles, max_width=400)
    assert sheet.shape == (12 + 62 * rows, 12 + 100 * columns, 3)


def test_a_caption_is_above_its_image_and_never_wider():
    image = np.zeros((50, 80, 3), np.uint8)
    captioned = with_caption(image, 'a_very_long_name_of_a_file.jpg', '3 objects')
    assert captioned.shape == (50 + 2 * 18 + 3, 80, 3)
    assert (captioned[39:] == 0).all() and (captioned[:39] < 200).any()


def test_names_that_are_not_utf_8_can_be_read_and_written(image, tmp_path):
    folder = tmp_path / os.fsdecode(b'\xff')
    folder.mkdir()
    path = shutil.copy(image, folder)
    sample = SegDataSample(metainfo=dict(img_path=path))
    sample.gt_sem_seg = sample.pred_sem_seg = PixelData(data=torch.zeros(1, 50, 64).long())
    write_prediction_sheet([sample], META, 0.5, folder / 'sheet.png')
    assert read_bgr(folder / 'sheet.png').shape[2] == 3
