"""Markdown that reports are made of."""


def table(titles, rows):
    """First column left, the others right."""
    lines = ["| " + " | ".join(titles) + " |"]
    lines.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(titles))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def paragraphs(*parts):
    return "\n\n".join(part for part in parts if part)
