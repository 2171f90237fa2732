# PowerShell completion for ark: ark completion powershell | Out-String | Invoke-Expression
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
