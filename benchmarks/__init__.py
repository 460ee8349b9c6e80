"""The lab's own speed, as ratios against peers in one run. Nothing here asserts anything."""
