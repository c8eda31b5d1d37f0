"""How clients share what there is a limited number of: places that are held, and turns that are waited for."""
