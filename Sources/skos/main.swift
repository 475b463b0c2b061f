print("skos")
