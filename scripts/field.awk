# Value of a field of an element message, as gst-launch-1.0 -m prints it; empty if there is none.
function field(name) {
    if (!match($0, "[ ,]" name "=\\([a-z0-9]+\\)[^,;]+")) return ""
    value = substr($0, RSTART, RLENGTH)
    sub(/^.*\)/, "", value)
    return value
}
