"""Jobs on Huawei Cloud's ModelArts, with data and results in object storage."""
