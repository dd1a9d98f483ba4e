"""What scripts/gen-docs writes between the markers of docs/man/ (mdoc) and of conf/dtlsgate.bash-completion."""

import re
import textwrap

COLUMNS = 79  # of a line of mdoc, for who reads the source


def escaped(line):
    """A line of text as mdoc takes it: a backslash is none of its own, a dot that begins it no macro, and a hyphen that
    somebody may copy is one."""
    line = re.sub(r"(?<![\w-])(--?)(?=\w)", lambda found: "\\-" * len(found.group()), line.replace("\\", "\\e"))
    line = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", line)
    return f"\\&{line}" if line[:1] in (".", "'") else line


def word(text):
    """One argument of a macro, whatever is in it."""
    text = text.replace("\\", "\\e").replace('"', '""')
    return f'"{text}"' if re.search(r'[ "]', text) else f"\\&{text}"


def flag(name):
    """-c or --config, behind Fl, which brings the first hyphen."""
    return "Fl " + name[1:].replace("-", "\\-")


def paragraph(text):
    """Lines of text; behind the end of a sentence mdoc wants a new one."""
    lines = re.sub(r"([.?!]) (?=[A-Z0-9/])", r"\1\n", text).splitlines()
    return "\n".join(escaped(part) for line in lines
                     for part in textwrap.wrap(line, COLUMNS - 8, break_long_words=False, break_on_hyphens=False))


def ended(text):
    """A help text as a sentence; as it is if it begins with a value."""
    return text if text.endswith((".", "?", "!")) else text + "."


# --- options of the programs ---


def read_options(source, macros):
    """[(flags, value, help)] of a C source's text of --help: lines that begin with an option, and those that go on.
    macros: {name: text} of the macros in it."""
    found = re.search(r"\bHELP\[\] =\s*((?:[^;\"]|\"(?:[^\"\\]|\\.)*\")*);", source)
    if not found:
        return []
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|(\w+)', found.group(1))
    text = "".join(macros[macro] if macro else part for part, macro in parts).replace("\\n", "\n")
    options = []
    for line in text.splitlines():
        option = re.match(r" {2,6}(?=-)((?:-\w, )?(?:--[a-z-]+|-\w))(?:[ =]([A-Z]+))? {2,}(\S.*)", line)
        more = re.match(r" {12,}(\S.*)", line)
        if option:
            options.append([option.group(1).split(", "), option.group(2), option.group(3)])
        elif more and options and options[-1][2]:
            options[-1][2] += " " + more.group(1)
    return options


def option_list(options):
    lines = [".Bl -tag -width Ds"]
    for flags, value, text in options:
        names = " , ".join(flag(name) + (f" Ar {value}" if value else "") for name in flags)
        lines += [f".It {names}", paragraph(ended(text[:1].upper() + text[1:]))]
    return "\n".join([*lines, ".El"])


# --- settings ---


def settings_list(settings):
    """The settings of a section: [(key, default or None, values, help)]."""
    lines = [".Bl -tag -width Ds"]
    for key, default, values, text in settings:
        shown = "required" if default is None else f"default: {default}" if default else "default: empty"
        lines += [f".It Ic {key} No = Ar {word(values)}", paragraph(ended(text)), f".Pq {word(shown)}"]
    return "\n".join([*lines, ".El"])


def removed_list(removed):
    lines = [".Bl -tag -width Ds"]
    for key, section, advice in removed:
        lines += [f".It Ic {key} No in {word(f'[{section}]')}", paragraph(ended(advice))]
    return "\n".join([*lines, ".El"])


# --- commands ---


def commands_list(options, commands):
    lines = [".Bl -tag -width Ds"]
    for name, argument, members, text, answer in commands:
        head = f".It Ic {word(name)}"
        for member in members:
            key, value, _ = options[member]
            head += f" Oo {flag(key)}" + (f" Ar {value}" if value else "") + " Oc"
        if argument:
            bare = argument.strip("[]") if argument.startswith("[") else argument
            head += f" Op Ar {bare}" if bare != argument else f" Ar {word(argument)}"
        lines += [head, paragraph(ended(text)), paragraph(f"As JSON: {answer}.")]
    return "\n".join([*lines, ".El"])


def command_options_list(options):
    return option_list([([key], value, text) for key, value, text in options.values()])


# --- completion ---


def completion(program, client, options, commands):
    """Variables for the functions below: the options of the program and of the client, the commands, and for each
    of those its options."""
    def flags(listed):
        return " ".join(name for names, _, _ in listed for name in names)

    lines = [f"_dtlsgate_options='{flags(program)}'", f"_dtlsgate_ctl_options='{flags(client)}'",
             f"_dtlsgate_commands='{' '.join(name for name, *_ in commands)}'",
             "declare -gA _dtlsgate_command_options=("]
    for name, _, members, _, _ in commands:
        words = " ".join([*(options[member][0] for member in members), "--help"])
        lines.append(f"    [{name}]='{words}'")
    lines += [")", "declare -gA _dtlsgate_command_arguments=("]
    for name, argument, *_ in commands:
        if argument:
            lines.append(f"    [{name}]='{argument}'")
    return "\n".join([*lines, ")"])
