"""The report of a test: one HTML page without external files, for the screen and for print.

:func:`convnext_mm.evaluation.report.page.write_report` writes it. Two other pages have the same
frame: the comparison of runs, and the page on a data set before training.

::

    ../results/         evaluated_data.py                    provenance.py   comparison.py
    (test.py --out)     (classes, annotations)               (recipe,        (published
        |                   |                                 machine)        metrics)
    detection_scores.py, segmentation_scores.py, confusions.py      |             |
        |                                                           |             |
    error_kinds.py (doubtful labels), plots.py, gallery.py (images) |             |
        |                                                           |             |
    detection_page.py, segmentation_page.py                         |             |
        |                                                           |             |
    page.py -> metrics_files.py (JSON, CSV) ------------------------+-------------+
        |           |
        |       runs_page.py (comparison)    data_page.py (data set)
        |           |                            |
    html.py, *.html.j2, page.css, page.js -------+
"""
