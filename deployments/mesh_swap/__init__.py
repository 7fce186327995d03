"""Classical face swap: the virtual face bent onto the face in the photo."""
