# How the scripts answer --help and what they do not understand. Sourced by them, before anything that takes time.
#
# A script's help is the comment at its head. $root is set before.
this_script=$(realpath --relative-to "$root" "${BASH_SOURCE[1]}")

print_help() { sed -n '2,${/^#/!q; s/^# \{0,1\}//p}' "$root/$this_script"; }

# refuse TEXT: ends the script with one line that says what is wrong with its arguments.
refuse() {
  echo "$this_script: $1; see $this_script --help" >&2
  exit 2
}

# wants_value ARGUMENTS...: refuses a flag that is the last of them.
wants_value() { (($# >= 2)) || refuse "$1 wants a value"; }
