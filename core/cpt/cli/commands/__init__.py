"""The commands of `cpt`, a file each."""
