"""Devices, and the processes of a job on several cards."""
