# Reads the YAML of NoCloud's meta-data and of a small #cloud-config: words, lists of words, and files with their content.
# Every key that is not read here is named in `unread`, so that nobody takes a guest of the lab for cloud-init.
# Writes into the folder `here`: a file for each word, `keys`, `script`, and the files that are asked for where they belong.

function word(text) {
  gsub(/^[ \t]+|[ \t\r]+$/, "", text)
  if (text ~ /^".*"$/) {
    text = substr(text, 2, length(text) - 2)
    gsub(/\\"/, "\"", text)
    gsub(/\\\\/, "\\", text)
  } else if (text ~ /^'.*'$/) {
    text = substr(text, 2, length(text) - 2)
    gsub(/''/, "'", text)
  } else
    sub(/[ \t]+#.*$/, "", text)
  return text
}

function quoted(text) {
  gsub(/'/, "'\\''", text)
  return "'" text "'"
}

# What follows a colon or a dash: a word, or `|` and the lines below it that stand further in than `from`.
function take(text, from, what) {
  block = ""
  if (text ~ /^[ \t]*[|]-?[ \t\r]*$/) {
    block = what
    strip_end = text ~ /-/
    outer = from
    inner = -1
    held = ""
    return
  }
  give(what, word(text))
}

function give(what, text) {
  if (what == "path") path = text
  else if (what == "content") content = text
  else if (what == "permissions") mode = text
  else if (what == "runcmd") print text >> (here "/script")
}

function end_block() {
  if (block == "") return
  sub(/\n+$/, "\n", held)
  if (strip_end) sub(/\n$/, "", held)
  give(block, held)
  block = ""
}

function end_file(  folder) {
  if (path != "") {
    folder = path
    sub(/\/[^\/]*$/, "", folder)
    if (folder != "") system("mkdir -p " quoted(folder))
    printf "%s", content > path
    close(path)
    if (mode != "") system("chmod " quoted(mode) " " quoted(path))
  }
  path = content = mode = ""
}

function field(text, from,  name) {
  name = text
  sub(/:.*/, "", name)
  sub(/^[^:]*:/, "", text)
  if (name == "path" || name == "content" || name == "permissions") take(text, from, name)
  else print "write_files " name >> (here "/unread")
}

{ indent = match($0, /[^ ]/) - 1 }

block != "" {
  if (indent < 0 || indent > outer) {
    if (inner < 0 && indent >= 0) inner = indent
    held = held (indent < 0 ? "" : substr($0, inner + 1)) "\n"
    next
  }
  end_block()
}

indent < 0 || /^ *#/ || /^---/ { next }

indent == 0 && !/^-/ {
  end_file()
  key = $0
  sub(/:.*/, "", key)
  value = $0
  sub(/^[^:]*:/, "", value)
  value = word(value)
  if (key == "hostname" || key == "local-hostname" || key == "instance-id") {
    print value > (here "/" key)
    close(here "/" key)
  } else if (!(key == "public-keys" || key == "ssh_authorized_keys" || key == "write_files" || key == "runcmd") || value != "")
    print key >> (here "/unread")
  next
}

/^ *-/ {
  item = $0
  sub(/^ *-[ \t]*/, "", item)
  if (key == "public-keys" || key == "ssh_authorized_keys") print word(item) >> (here "/keys")
  else if (key == "write_files") {
    end_file()
    field(item, indent + 2)
  } else if (key == "runcmd") {
    if (item ~ /^\[/) print "runcmd [" >> (here "/unread")
    else take(item, indent, "runcmd")
  }
  next
}

key == "write_files" {
  sub(/^ +/, "")
  field($0, indent)
}

END {
  end_block()
  end_file()
}
