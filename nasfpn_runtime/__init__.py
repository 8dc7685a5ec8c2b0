"""The MindSpore side: build, train, score any genome."""

from nasfpn_runtime.device import guard_isa

# The one thing done at import: it must come before the process's first convolution.
guard_isa()
