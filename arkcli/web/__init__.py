"""The page of `ark ui` and `ark listen --ui`. A face like `cli`: it parses, calls actions, renders."""
