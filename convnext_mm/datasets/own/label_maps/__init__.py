"""Images and label maps, PNGs with a class id in each pixel: find the pairs, check them."""
