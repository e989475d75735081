# Puts a delivery as a file into the folder $1, from which an older program takes its work.
#
# Switchyard starts it for each delivery and hands it one JSON line. Its exit code is the answer, its last words are kept with it.

folder=$1
if [ ! -d "$folder" ]; then
    echo "there is no folder $folder: is it mounted?" >&2
    exit 69 # all deliveries wait until it is back
fi

line=$(cat)
# The id is the first thing in the line, and made of letters, digits and `_`: no value of an event gets into the name.
id=${line#*'"delivery":"'}
id=${id%%'"'*}

# Whole or not at all: the older program never sees half a file. The same delivery is the same file.
if printf '%s\n' "$line" > "$folder/.$id.part" && mv "$folder/.$id.part" "$folder/$id.json"; then
    echo "$id.json"
else
    exit 75 # tried again
fi
