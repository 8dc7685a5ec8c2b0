"""The MindSpore side: build, train, score any genome."""
