"""Network modules (``nn.Cell``): feature maps are NCHW float32 unless said otherwise."""
