"""From a checkpoint or an exported file to detections in a picture."""
