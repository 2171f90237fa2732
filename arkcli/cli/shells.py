"""The completion scripts of each shell. They ask `ark` itself: see `arkcli.cli.completion.candidates`."""

from typing import Final

BASH: Final = r"""# bash completion for ark: ark completion bash > ~/.local/share/bash-completion/completions/ark
_ark() {
    local word value help prefix joined='' words=()
    COMPREPLY=()
    # bash splits words at = and : as well; what was typed as one word is put together again.
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
"""

ZSH: Final = r"""#compdef ark
# zsh completion for ark: ark completion zsh > "${fpath[1]}/_ark"
_ark() {
    local line value files=''
    local -a described
    local -a before=("${(@Q)words[2,CURRENT-1]}")
    for line in "${(@f)$(_ARK_COMPLETE="=${(Q)PREFIX}" ark "${(@)before}" 2>/dev/null)}"; do
        value=${line%%$'\t'*}
        if [[ -n $value ]]; then
            described+=("${value//:/\\:}:${line#*$'\t'}")
        elif [[ -n $line ]]; then
            files=1
        fi
    done
    [[ $PREFIX == --*=* ]] && compset -P '*='
    if [[ -n $files ]]; then
        _files
    elif ((${#described})); then
        _describe -t ark ark described
    fi
}
if [[ $funcstack[1] == _ark ]]; then
    _ark "$@"
else
    compdef _ark ark
fi
"""

FISH: Final = r"""# fish completion for ark: ark completion fish > ~/.config/fish/completions/ark.fish
# Whatever else is called ark, such as KDE's archiver, is not this one.
complete -c ark -e
function __ark_complete
    set -l current (commandline -ct)
    set -l before (commandline -opc)
    set -e before[1]
    set -l prefix (string match -r '^--[^=]+=' -- "$current")
    for line in (env _ARK_COMPLETE="=$current" ark $before 2>/dev/null)
        if string match -q \t'*' -- $line
            __fish_complete_path "$current"
        else
            echo "$prefix$line"
        end
    end
end
complete -c ark -f -a '(__ark_complete)'
"""

POWERSHELL: Final = r"""# PowerShell completion for ark: ark completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName ark -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $before = @($commandAst.CommandElements | Select-Object -Skip 1 |
            Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { "$_" })
    $prefix = if ($wordToComplete -match '^--[^=]+=') { $Matches[0] } else { '' }
    $Env:_ARK_COMPLETE = "=$wordToComplete"
    try {
        ark @before 2>$null | ForEach-Object {
            $value, $help = $_ -split "`t", 2
            if ($value) {
                $text = if ($help) { $help } else { $value }
                [System.Management.Automation.CompletionResult]::new("$prefix$value", $value, 'ParameterValue', $text)
            }
        }
    } finally {
        Remove-Item Env:_ARK_COMPLETE
    }
}
"""
