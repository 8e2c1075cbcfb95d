"""Objects in COCO format: read the annotations, check and repair them."""
