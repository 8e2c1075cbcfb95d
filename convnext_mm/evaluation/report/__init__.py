"""The report of an evaluation: one HTML page that needs nothing else, on screen and on paper.

::

    results.py   what tools/test.py --out wrote, and the ground truth
        |
    detection.py, segmentation.py    the numbers, and nothing but numbers
        |
    figures.py, pictures.py          as SVG           about.py    recipe, machine, published figures
        |                                                |        (differences.py: what differs)
    detector.py, segmentor.py        what a report of either shows
        |
    page.py, *.html.j2, page.css, page.js             the page

:func:`convnext_mm.evaluation.report.page.write_report` is the whole of it; by ``hook.py`` a
training ends with it.
"""
