"""The report of a test: one HTML page without external files, for the screen and for print.

:func:`convnext_mm.evaluation.report.page.write_report` writes it.

::

    ../results/         evaluated_data.py                    provenance.py   comparison.py
    (test.py --out)     (classes, annotations)               (recipe,        (published
        |                   |                                 machine)        metrics)
    detection_scores.py, segmentation_scores.py, confusions.py      |             |
        |                                                           |             |
    plots.py, annotated_images.py (SVG)                             |             |
        |                                                           |             |
    detection_page.py, segmentation_page.py                         |             |
        |                                                           |             |
    page.py, *.html.j2, page.css, page.js  -------------------------+-------------+
"""
