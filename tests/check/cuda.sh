#!/bin/sh
# What ptxas says of the CUDA kernels, and where their PTX stands. usage: cuda.sh FOLDER [KERNEL...]
# FOLDER holds a NAME.cuda.ptxas for each source with kernels (make cuda); none: only the sources are
# checked. Every kernel must be there for sm_80 and sm_90a without spills or a stack, within the
# registers that cuda_registers.txt gives its family; wgmma must not be serialised. With names
# of kernels (source/kernel): prints their figures instead.
set -eu
folder=${1:-build/kernels/cuda}
table=tests/check/cuda_registers.txt
shift $(($# > 0))

# The words of a device stand in simt.h and simt_hopper.h, and their emulation beside them.
words='\basm\b|\b__[a-z]+_sync\b|\b__(syncthreads|cvta|ldg|shfl|ballot|float_as|uint_as|fmul_rn|fadd_rn)|\batomic[A-Z]|cooperative_groups|wmma::'
if grep -nE "$words" $(git ls-files 'kernels/cuda/*.cu' 'kernels/cuda/*.cuh' 'kernels/cuda/*.h' 'tests/cuda/*.cu' 'bench/*.cu' |
    grep -vE 'kernels/cuda/(simt|emulate)(_hopper)?\.h') | grep -vE '^[^:]*:[0-9]+: ?[ /]\*'; then
    echo "cuda: the words above belong into kernels/cuda/simt.h, with their emulation" >&2
    exit 1
fi

reports=
for source in kernels/cuda/*.cu; do
    report=$folder/$(basename "$source" .cu).cuda.ptxas
    [ ! -f "$report" ] || reports="$reports $report"
done
if [ -z "$reports" ]; then
    echo "cuda: NOT CHECKED: no nvcc here, so spills and registers of the kernels were not looked at"
    exit 0
fi

for report in $reports; do
    echo "source $(basename "$report" .cuda.ptxas)"
    c++filt <"$report"
done | awk -v table="$table" -v wanted="$*" '
BEGIN {
    while ((getline line < table) > 0) {
        if (line ~ /^[[:space:]]*(#|$)/)
            continue
        split(line, field)
        ceiling[field[1]] = field[2]
        stack_allowed[field[1]] = field[3] + 0
    }
    if (!("*" in ceiling)) { print "cuda: " table " has no line for *"; exit wrong = 1 }
}
function complain(text) { print "cuda: " kernel " (" arch "): " text; wrong++ }
/^source / { source = $2 }
# void (anonymous namespace)::name<parameters>(arguments) -> source/name<parameters>
/Compiling entry function/ {
    kernel = $0
    arch = $0
    sub(/^[^\047]*\047/, "", kernel)
    sub(/\047 for \047.*/, "", kernel)
    sub(/.* for \047/, "", arch)
    sub(/\047.*/, "", arch)
    gsub(/\(anonymous namespace\)::/, "", kernel)
    gsub(/rvx::/, "", kernel)
    sub(/^void /, "", kernel)
    gsub(/\([A-Za-z_]*\)/, "", kernel) # casts
    sub(/\(.*/, "", kernel)
    kernel = source "/" kernel
    name = kernel
    sub(/<.*/, "", name)
    whole = kernel
    gsub(/ /, "", whole)
    row = whole in ceiling ? whole : name in ceiling ? name : "*"
    used[row] = 1
    seen[kernel] = seen[kernel] " " arch
    entry = 1
}
/bytes stack frame/ {
    for (i = 1; i < NF; i++) {
        if ($(i + 1) == "bytes" && $(i + 2) == "stack") stack = $i
        if ($(i + 1) == "bytes" && $(i + 3) ~ /^stores/) stores = $i
        if ($(i + 1) == "bytes" && $(i + 3) ~ /^loads/) loads = $i
    }
    if (!entry) { kernel = "a device function"; arch = "?"; row = "*" }
    if (stores + loads > 0) complain("spills " stores " bytes of stores and " loads " of loads")
    if (stack > stack_allowed[row]) complain("a stack frame of " stack " bytes, " stack_allowed[row] " are allowed")
}
/Used [0-9]+ registers/ {
    match($0, /Used [0-9]+/)
    registers = substr($0, RSTART + 5, RLENGTH - 5) + 0
    if (registers > ceiling[row]) complain(registers " registers, the ceiling of " row " is " ceiling[row])
    if (registers > most[name]) most[name] = registers
    if (wanted != "" && index(" " wanted " ", " " name " "))
        printf "%-60s %-7s %3d registers, %s bytes of stack\n", kernel, arch, registers, stack
    count++
    entry = 0
}
/C7508|C7510|C7511/ { complain($0) }
END {
    for (kernel in seen)
        for (i = split("sm_80 sm_90a", archs); i > 0; i--)
            if (!index(seen[kernel] " ", " " archs[i] " ")) { arch = archs[i]; complain("is not there") }
    for (row in ceiling)
        if (row != "*" && !(row in used)) { print "cuda: " table " names " row ", which no kernel is called"; wrong++ }
    if (!wrong && wanted == "")
        print "cuda: " count " kernels for sm_80 and sm_90a: no spills, no stack beyond what is listed, registers within their ceilings"
    exit wrong > 0
}'
