"""COCO's metrics, computed by pycocotools."""

import contextlib
import io

from pycocotools.cocoeval import COCOeval


def evaluate_by_pycocotools(api, results, iou_type, **params):
    """Evaluate results, a list or a file, without the lines that pycocotools prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        done = COCOeval(api, api.loadRes(results), iou_type)
        for name, value in params.items():
            setattr(done.params, name, value)
        done.evaluate()
        done.accumulate()
        done.summarize()
    return done
