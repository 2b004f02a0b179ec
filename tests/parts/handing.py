#!/usr/bin/env python3
"""A parent that hands over a socket as systemd does (sd_listen_fds(3)), and becomes the program.

usage: handing.py PORT NAME PROGRAM [ARGUMENT…]
"""

import os
import socket
import sys

port, name, program = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(("127.0.0.1", port))
listening.listen(128)
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES=name, LISTEN_PID=str(os.getpid()))
os.execv(program[0], program)
