# bash completion for ark: ark completion bash > ~/.local/share/bash-completion/completions/ark
_ark() {
    local word value help prefix joined='' words=()
    COMPREPLY=()
    # bash also splits words at = and :, so join the parts of each typed word again.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if ((${#words[@]})) && [[ $word == [=:] || -n $joined ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        [[ $word == [=:] ]] && joined=1 || joined=''
    done
    local current="${words[${#words[@]} - 1]}" last="${COMP_WORDS[COMP_CWORD]}"
    [[ $last == [=:] ]] && last=''
    unset 'words[${#words[@]} - 1]'
    prefix="${current%"$last"}"
    while IFS=$'\t' read -r value help; do
        if [[ -z $value ]]; then
            compopt -o default 2>/dev/null
        else
            COMPREPLY+=("${value#"$prefix"}")
        fi
    done < <(_ARK_COMPLETE="=$current" "$1" "${words[@]}" 2>/dev/null)
}
complete -F _ark ark
