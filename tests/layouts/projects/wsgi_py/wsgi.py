from shop import shop as application

__all__ = ["application"]
