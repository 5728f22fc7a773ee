"""The Grand Challenge platform, one file each: what a run is given and what it must leave."""
