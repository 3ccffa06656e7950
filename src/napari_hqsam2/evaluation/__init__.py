"""Published protocols and measures, for any model: images, COCO, videos, stacks."""
