"""``nasfpn predict``: from files that may be anything to boxes, pictures and COCO results."""
