"""The pages of a report, one module each: sections of ``results.json`` -> paragraphs of Markdown."""
