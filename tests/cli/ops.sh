# The table of operators.
graphrun ops | grep -E '^(And|Loop|com.microsoft.Attention) '
graphrun ops --json | grep -o '"name":"And"[^}]*}'
graphrun ops --all | grep -c '^graphrun\.AttentionBias '
graphrun ops | grep -c '^graphrun\.'
status graphrun ops x.onnx
