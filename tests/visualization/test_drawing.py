"""Objects, label maps and their names have the right colours and places."""

import numpy as np
import pytest

from convnext_mm.visualization.drawing import draw_instances, draw_labels

GREY = np.full((200, 300, 3), 128, np.uint8)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_masks_tint_the_picture_and_the_highest_score_is_on_top():
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 50:150, 50:150] = masks[1, 50:150, 100:200] = True
    boxes = np.array([[50, 50, 150, 150], [100, 50, 200, 150]], float)
    drawn = draw_instances(
        GREY, boxes, np.array([0, 1]), ('a', 'b'), [RED, BLUE], masks, np.array([0.9, 0.5])
    )
    assert (GREY == 128).all()  # the input image is unchanged
    left, both, right = (drawn[100, x].astype(int) for x in (75, 125, 175))
    assert left[0] > left[2] and right[2] > right[0]
    assert both[0] > both[2]  # 0.9 is red
    assert (drawn[10, 290] == 128).all()


def test_labels_do_not_cover_one_another_and_stay_inside():
    boxes = np.array([[0, 0, 60, 60]] * 8, float)
    drawn = draw_instances(GREY, boxes, np.arange(8) % 2, ('disc', 'box'), [RED, BLUE] * 4)
    again = draw_instances(GREY, boxes[:1], np.array([0]), ('disc',), [RED])
    # A box has four places for a label; here one of them is above the image.
    labels = [(drawn == colour).all(2).sum() for colour in (RED, BLUE)]
    assert all(0 < count < 3500 for count in labels)
    assert (again == RED).all(2).sum() > 200


def test_a_label_does_not_hide_other_objects():
    # The upper box is directly above the lower one; the space below the lower box is free.
    boxes = np.array([[50, 100, 110, 140], [50, 60, 110, 98]], float)
    drawn = draw_instances(GREY, boxes, np.array([0, 1]), ('disc', ''), [RED, BLUE])
    assert not (drawn[62:97, 52:108] == RED).all(2).any()
    assert (drawn[142:152, 50:70] == RED).all(2).any()


@pytest.mark.parametrize('side', [1, 40, 3000])
def test_images_of_any_size_and_empty_objects_are_drawn(side):
    image = np.zeros((side, side, 3), np.uint8)
    boxes = np.array([[0, 0, side, side], [0, 0, 0, 0]], float)
    masks = np.zeros((2, side, side), np.uint8)
    drawn = draw_instances(image, boxes, np.array([0, 0]), ('a',), [RED] * 2, masks)
    assert drawn.shape == image.shape
    nothing = draw_instances(image, boxes[:0], np.array([], int), ('a',), [RED], masks[:0])
    assert np.array_equal(nothing, image)


def test_the_background_of_a_label_map_is_not_painted():
    labels = np.zeros((200, 300), np.int64)
    labels[50:150, 100:200] = 1
    drawn = draw_labels(GREY, labels, ('background', 'sea'), [RED, BLUE]).astype(int)
    assert (drawn[labels == 0] == 128).all() and drawn[60, 120, 2] > drawn[60, 120, 0]


def test_a_label_map_is_coloured_where_a_pixel_has_a_class():
    labels = np.zeros((200, 300), np.int64)
    labels[:, 100:200] = 1
    labels[:, 200:] = 255
    drawn = draw_labels(GREY, labels, ('sky', 'sea'), [RED, BLUE]).astype(int)
    assert drawn[10, 50, 0] > drawn[10, 50, 2] and drawn[10, 150, 2] > drawn[10, 150, 0]
    assert (drawn[10, 250] == 128).all()
    # The names are in the middle of their regions.
    assert (drawn[90:110, 20:80] == RED).all(2).any()
    assert (drawn[90:110, 120:180] == BLUE).all(2).any()
