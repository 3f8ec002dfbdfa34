# Data sets in ONNX's layout: tensors of two floats, made by hand. tensor FILE NAME A B
tensor() {
    printf "\\010\\002\\020\\001\\102\\001$2\\112\\010\\000\\000$3\\000\\000$4" > "$1"
}
one='\200\077' two='\000\100' three='\100\100' four='\200\100'
mkdir -p good/test_data_set_0 good/test_data_set_1 wrong/test_data_set_0 empty
cp add.onnxtxt good/model.onnxtxt
cp add.onnxtxt wrong/model.onnxtxt
cp add.onnxtxt empty/model.onnxtxt
for set in good/test_data_set_0 good/test_data_set_1 wrong/test_data_set_0; do
    tensor $set/input_0.pb x "$one" "$two"
    tensor $set/input_1.pb y "$one" "$two"
    tensor $set/output_0.pb z "$two" "$four"
done
tensor wrong/test_data_set_0/output_0.pb z "$two" "$three"
tensor good/test_data_set_1/input_0.pb y "$two" "$one" # named, so the order doesn't count
tensor good/test_data_set_1/input_1.pb x "$one" "$two"
tensor good/test_data_set_1/output_0.pb z "$three" "$three"
status graphrun verify good/model.onnxtxt
status graphrun verify wrong/model.onnxtxt
status graphrun verify good
status graphrun verify good wrong empty
status graphrun verify wrong --atol 1
status graphrun verify wrong --rtol 0.4 --atol 0
status graphrun verify wrong --cosine 0.9
status graphrun verify wrong --cosine 0.999
status graphrun verify good good/test_data_set_1
status graphrun verify add.onnxtxt wrong good/test_data_set_0
status graphrun verify good wrong --json
status graphrun verify empty
status graphrun verify encoder.onnxtxt good
printf 'rubbish' > good/test_data_set_0/output_0.pb
status graphrun verify good
