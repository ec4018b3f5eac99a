"""A finished comparison as tables, pages and figures."""
