"""Jobs on Huawei Cloud's ModelArts: data and results in object storage."""
