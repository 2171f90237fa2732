# fish completion for ark: ark completion fish > ~/.config/fish/completions/ark.fish
# Remove completions for other programs named ark, such as KDE's archiver.
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
