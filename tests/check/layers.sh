#!/bin/sh
# The layer rule: no include points upwards. kernels <- engine <- models <- bindings/c <- {cpp, python,
# cli}; inside engine base <- graph <- plan <- run, base <- volume <- run, phantom sits on volume, and
# segment on run and volume. What stands above bindings/c sees bindings/c/revoxel.h alone. The public header
# and its parts in bindings/c/revoxel/ include one another relative to themselves, and nothing of ours
# besides, so that they can be copied anywhere. Run from the repository root.
set -eu
sources=$(git ls-files -- 'kernels/*' 'engine/*' 'models/*' 'bindings/*' | grep -E '\.(c|h|cu|cuh|cpp|hpp|def)$')

# An include must be readable without a preprocessor: <system> or "path/from/the/root".
if grep -nE '^[[:space:]]*#[[:space:]]*include' $sources | grep -vE '#include (<[^>]+>|"[a-z0-9_/.]+")'; then
    echo "layers: these includes are neither <...> nor \"path/from/the/root\"" >&2
    exit 1
fi

public=$(git ls-files -- bindings/c/revoxel.h 'bindings/c/revoxel/*')
for part in $public; do
    for included in $(sed -nE 's/^#include "([^"]*)".*/\1/p' "$part"); do
        case " $(echo $public) " in *" $(dirname "$part")/$included "*) ;; *)
            echo "layers: $part includes $included, which is no part of the public header" >&2
            exit 1
            ;;
        esac
    done
done

grep -E '^#include "' $(echo "$sources" | grep -vxF "$public") /dev/null | sed -E 's/^([^:]*):#include "([^"]*)".*/\1 \2/' | awk '
BEGIN {
    below["kernels"]        = "kernels"
    below["engine/base"]    = "kernels engine/base"
    below["engine/graph"]   = "kernels engine/base engine/graph"
    below["engine/plan"]    = "kernels engine/base engine/graph engine/plan"
    below["engine/volume"]  = "kernels engine/base engine/volume"
    below["engine/phantom"] = "kernels engine/base engine/volume engine/phantom"
    below["engine/run"]     = "kernels engine/base engine/graph engine/plan engine/volume engine/run"
    below["engine/segment"] = "kernels engine/base engine/volume engine/run engine/segment"
    below["models"]         = "kernels engine/graph models"
    below["bindings/c"]     = "kernels engine/base engine/graph engine/plan engine/volume engine/phantom engine/run engine/segment models bindings/c"
}
function layer(path,    part, depth) {
    depth = split(path, part, "/")
    return part[1] == "kernels" || part[1] == "models" || depth < 3 ? part[1] : part[1] "/" part[2]
}
{
    from = layer($1); to = layer($2); count++
    if (from in below)
        fine = index(" " below[from] " ", " " to " ") > 0
    else # cli, cpp, python
        fine = to == from || $2 == "bindings/c/revoxel.h"
    if (!fine) { print "layers: " $1 " includes " $2; wrong++ }
    if (system("test -f \"" $2 "\"")) { print "layers: " $1 " includes " $2 ", which does not exist"; wrong++ }
}
END {
    if (count < 100) { print "layers: only " count + 0 " includes found: is this the repository root?"; wrong++ }
    if (!wrong) print "layers: " count " includes, none points upwards"
    exit wrong > 0
}'
