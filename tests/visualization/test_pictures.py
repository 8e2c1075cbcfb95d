"""Contact sheets of what an evaluation saw, for detections (also none) and label maps."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from convnext_mm.visualization.pictures import Picture, contact_sheet

META = dict(classes=('disc', 'box'), palette=[(255, 0, 0), (0, 0, 255)])


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), np.full((50, 64, 3), 200, np.uint8))
    return str(path)


def drawn(sample, folder):
    contact_sheet([Picture.of(sample)] * 5, META, 0.5, folder / 'sheet.png')
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
    half = (250 + 18) * 2 + 12  # two captioned pictures of 320x250 and the gap below
    assert sheet.shape == (2 * half, 4 * 326, 3)  # five tiles in rows of four
    truth, prediction = sheet[18:268, :320], sheet[286:536, :320]
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) > 10
    assert (len(np.unique(prediction.reshape(-1, 3), axis=0)) > 10) == bool(found)


def test_label_maps_are_drawn_at_the_size_of_the_picture(image, tmp_path):
    labels = torch.zeros(1, 50, 64, dtype=torch.long)
    labels[:, 25:] = 1
    sample = SegDataSample(metainfo=dict(img_path=image))
    sample.gt_sem_seg = PixelData(data=labels)
    sample.pred_sem_seg = PixelData(data=1 - labels)
    sheet = drawn(sample, tmp_path).astype(int)
    truth, prediction = sheet[18:268, 3:323], sheet[286:536, 3:323]
    for picture, red, blue in ((truth, 20, 230), (prediction, 230, 20)):
        assert picture[red, 160, 2] > picture[red, 160, 0]  # BGR
        assert picture[blue, 160, 0] > picture[blue, 160, 2]


def test_a_sheet_is_as_wide_as_its_pictures(image, tmp_path):
    sample = SegDataSample(metainfo=dict(img_path=image))
    sample.gt_sem_seg = sample.pred_sem_seg = PixelData(data=torch.zeros(1, 50, 64).long())
    contact_sheet([Picture.of(sample)] * 2, META, 0.5, tmp_path / 'sheet.png')
    assert cv2.imread(str(tmp_path / 'sheet.png')).shape[1] == 2 * 326
