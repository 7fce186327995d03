"""Garment warp in pieces: torso, sleeves and legs each bent by a thin-plate spline along its own limb."""
