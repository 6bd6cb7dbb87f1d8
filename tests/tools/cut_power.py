#!/usr/bin/env python3
"""Shuts a mounted ext4 down without flushing its journal: to the files on it, a power cut.

usage: cut_power.py MOUNT_POINT

From then on every operation on the file system fails; what was not made durable before is gone
when it is mounted again. Needs root. (A script, since the workspace forbids `unsafe`, and Rust
has no safe call for this ioctl.)
"""

import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2

directory = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
