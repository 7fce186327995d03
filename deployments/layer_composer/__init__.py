"""Composition of a dressed person: old garment away, skin and backdrop painted, new garment lit and laid on."""
