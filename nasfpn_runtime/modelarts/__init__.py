"""Jobs on Huawei Cloud's ModelArts: data and results in object storage, one of many processes."""

from __future__ import annotations

from nasfpn_runtime.modelarts.jobs import Local, job
from nasfpn_runtime.modelarts.places import Place, place

__all__ = ["Local", "Place", "job", "place"]
