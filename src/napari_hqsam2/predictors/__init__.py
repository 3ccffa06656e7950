"""State and policy around the stateless model: images, videos, frames and memories."""
